//! Character Generator (RFC 864).
#![no_main]
small_services::program!(small_services::protocol::Chargen);
