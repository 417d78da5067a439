//! Daytime (RFC 867).
#![no_main]
small_services::program!(small_services::protocol::Daytime);
