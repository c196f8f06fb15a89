//! The program: all of it is `earwitness::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    earwitness::cli::main()
}
