use std::process::ExitCode;

fn main() -> ExitCode {
    altmount::cli::main()
}
