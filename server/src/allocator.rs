//! How the C library's allocator treats large blocks.
//!
//! Left to itself, glibc takes the size of the largest block that was ever given back for the border between its heaps and mappings of their
//! own, and lets the heaps keep twice that. After the import of a large NZB everything is then cut out of heaps, which grow by what is
//! large and cannot shrink past what is small.
//!
//! It also has a heap for each thread, up to eight for each processor, and none of them takes what another one has free. With two for each
//! processor eight imports of large NZBs add some 5 MiB less; with one, threads of streams wait for each other.

/// From this size on a block is a mapping of its own and goes back to the system when it is given back, in bytes: more than an article.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED: libc::c_int = 2 << 20;
/// So much may be free at the end of a heap before it is given back, in bytes: what streams take and give back all the time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 16 << 20;

/// Heaps for each processor.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS: usize = 2;

/// Sets what is said above, for the whole process. Where the environment says how glibc's allocator is to be, that stays.
pub fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let said = [
            "GLIBC_TUNABLES",
            "MALLOC_MMAP_THRESHOLD_",
            "MALLOC_TRIM_THRESHOLD_",
            "MALLOC_ARENA_MAX",
        ];
        if said.iter().any(|name| std::env::var_os(name).is_some()) {
            return;
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let heaps = libc::c_int::try_from(HEAPS * processors).unwrap_or(libc::c_int::MAX);
        for (what, value) in [
            (libc::M_MMAP_THRESHOLD, MAPPED),
            (libc::M_TRIM_THRESHOLD, KEPT),
            (libc::M_ARENA_MAX, heaps),
        ] {
            #[expect(unsafe_code, reason = "a function of the C library")]
            // SAFETY: it takes two numbers, at any time and on any thread.
            let _taken = unsafe { libc::mallopt(what, value) };
        }
    }
}
