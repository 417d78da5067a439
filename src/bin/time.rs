//! Time (RFC 868).
#![no_main]
small_services::program!(small_services::protocol::Time);
