//! Echo (RFC 862).
#![no_main]
small_services::program!(small_services::protocol::Echo);
