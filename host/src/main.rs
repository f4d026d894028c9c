//! The one binary.

fn main() -> std::process::ExitCode {
    coda::cli::main()
}
