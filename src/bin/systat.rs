//! Active Users (RFC 866).
#![no_main]
small_services::program!(small_services::protocol::Systat);
