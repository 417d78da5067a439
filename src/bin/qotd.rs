//! Quote of the Day (RFC 865).
fn main() {
    small_services::run::<small_services::protocol::Qotd>()
}
