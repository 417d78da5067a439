#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| small_services_fuzz::proxy::run(data));
