//! ONNX Runtime's telemetry. From version 1.32 on the library from the packages reports its use to its makers. Kith never
//! sends anything that nobody asked for, so that is switched off, and without that the library is not loaded at all.
//!
//! The call that is meant for it ([`ort`]'s `with_telemetry(false)`) comes when the library is loaded already. The
//! environment variable is read before, so both are used.

use std::env;

/// What the library reads.
pub const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

/// Switches it off for this process and its children. The first thing that a program does that may load the library.
///
/// # Safety
/// No other thread may run yet: the C library reads the environment without a lock.
#[expect(
    unsafe_code,
    reason = "the library knows no other switch that comes before it is loaded, and starting the program again with the \
              variable would show another process to whoever supervises it"
)]
pub unsafe fn switch_off() {
    // SAFETY: no other thread runs, by this function's own contract.
    unsafe { env::set_var(VARIABLE, "1") }
}

/// Whether the library will find it switched off.
pub fn is_off() -> bool {
    env::var_os(VARIABLE).is_some_and(|value| value == "1")
}
