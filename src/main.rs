use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(converge::cli::main())
}
