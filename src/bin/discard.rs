//! Discard (RFC 863).
#![no_main]
small_services::program!(small_services::protocol::Discard);
