//! The command `kith-export`; see [`kith_export::commands`].

use std::process::ExitCode;

use clap::Parser;
use kith_export::commands::{Cli, run};

#[cfg(feature = "train")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg_attr(feature = "train", expect(unsafe_code, reason = "see kith::runtime::telemetry"))]
fn main() -> ExitCode {
    // Without the trainer no runtime library is loaded.
    // SAFETY: nothing came before this line that could have started a thread.
    #[cfg(feature = "train")]
    unsafe {
        kith::runtime::telemetry::switch_off();
    };
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kith-export: {error:#}");
            ExitCode::FAILURE
        }
    }
}
