//! This process's statistics from the kernel: memory, files, threads; zero where they cannot be
//! read.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::net::file_limit::file_limit;

/// The statistics at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// User and system time, seconds.
    pub cpu_seconds: f64,
    /// Memory in RAM, bytes.
    pub resident_bytes: u64,
    /// Address space, bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// File descriptors in use.
    pub open_files: u64,
    /// Limit of file descriptors.
    pub files_max: u64,
    /// When the server started, Unix milliseconds.
    pub started_ms: u64,
}

impl Process {
    /// Reads the statistics.
    pub fn read(started_ms: u64) -> Process {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let kib = |name| field(name).unwrap_or(0).saturating_mul(1024);
        let listed = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
        Process {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            resident_bytes: kib("VmRSS:"),
            virtual_bytes: kib("VmSize:"),
            threads: field("Threads:").unwrap_or(0),
            // Reading the directory uses one.
            open_files: listed.saturating_sub(1),
            files_max: file_limit(),
            started_ms,
        }
    }
}
