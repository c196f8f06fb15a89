//! How the C library divides its memory among threads.

/// Cores for which there is one heap.
const CORES: usize = 4;

/// Lets threads share few heaps. glibc would give a core eight: each stream has threads of its own, what a worker makes of a window
/// lives until any worker has the next one, and what one heap has free is of no use to the others.
pub fn share_heaps() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let heaps = cores.div_ceil(CORES);
        // SAFETY: takes numbers and touches no memory of ours; no other thread has been started yet.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, i32::try_from(heaps).unwrap_or(i32::MAX)) };
    }
}
