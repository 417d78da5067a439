//! Tools for administrators of the services.
fn main() -> std::process::ExitCode {
    small_services::tools::main()
}
