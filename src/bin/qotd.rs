//! Quote of the Day (RFC 865).
#![no_main]
small_services::program!(small_services::protocol::Qotd);
