//! The command `kith-export`; see [`kith_export::commands`].

use std::process::ExitCode;

use clap::Parser;
use kith_export::commands::{Cli, run};

#[cfg(feature = "train")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kith-export: {error:#}");
            ExitCode::FAILURE
        }
    }
}
