//! Fortunes over the web.
#![no_main]
small_services::program!(run = small_services::web::run);
