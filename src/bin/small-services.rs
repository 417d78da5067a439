//! What looks after the services.
fn main() -> std::process::ExitCode {
    small_services::tools::main()
}
