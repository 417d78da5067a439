//! Discard (RFC 863).
fn main() {
    small_services::run::<small_services::protocol::Discard>()
}
