//! Echo (RFC 862).
fn main() {
    small_services::run::<small_services::protocol::Echo>()
}
