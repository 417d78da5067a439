//! Fortunes over the web.
#![no_main]
small_services::program!(run = lunchd::run);
