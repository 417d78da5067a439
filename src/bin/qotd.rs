//! Quote of the Day (RFC 865), and fortune(6) under that name.
#![no_main]
small_services::program!(run = small_services::runtime::run_qotd);
