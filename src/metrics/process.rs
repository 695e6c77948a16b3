//! What the kernel says about this process, without its children.

use std::fs;

/// Figures of a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Process {
    /// Processor time in user and kernel mode since the start, in seconds.
    pub cpu_s: f64,
    /// Memory that is in RAM, in bytes.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open files, sockets and pipes.
    pub open_fds: u64,
    /// So many may be open.
    pub max_fds: Option<u64>,
}

impl Process {
    /// The figures of now; `None` without `/proc`.
    pub fn now() -> Option<Self> {
        let (cpu_ticks, threads, resident_pages) = parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
        // One of them is the folder itself, which is being read.
        let open_fds = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        #[expect(clippy::cast_precision_loss, reason = "2^53 ticks are three million years")]
        let cpu_s = cpu_ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        Some(Self {
            cpu_s,
            resident_bytes: resident_pages * rustix::param::page_size() as u64,
            threads,
            open_fds: open_fds as u64,
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        })
    }
}

/// CPU ticks, threads and resident pages of `/proc/PID/stat`; the name in it can hold spaces and brackets.
fn parse(stat: &str) -> Option<(u64, u64, u64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    // The first field here is the third of proc_pid_stat(5), which counts from 1.
    let field = |number: usize| rest.split(' ').nth(number - 3)?.parse::<u64>().ok();
    Some((field(14)? + field(15)?, field(20)?, field(24)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let stat = "77 (a b) c) S 1 77 77 0 -1 4194560 1 2 3 4 250 50 7 8 20 0 9 0 1000 123456 42 18446744073709551615";
        assert_eq!(parse(stat), Some((300, 9, 42)));
        assert_eq!(parse("77 (kith"), None);
    }

    #[test]
    fn this_process_has_figures() {
        let process = Process::now().unwrap();
        assert!(process.resident_bytes > 1 << 20, "{process:?}");
        assert!(process.threads >= 1 && process.open_fds >= 3, "{process:?}");
        let opened = fs::File::open("/proc/self/stat").unwrap();
        assert!(Process::now().unwrap().max_fds >= Some(8));
        drop(opened);
    }
}
