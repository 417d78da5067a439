//! Daytime (RFC 867).
fn main() {
    small_services::run::<small_services::protocol::Daytime>()
}
