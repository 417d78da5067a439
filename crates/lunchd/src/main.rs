//! Fortunes over HTTP and HTTPS.
#![no_main]
small_services::program!(run = lunchd::run);
