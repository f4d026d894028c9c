//! How the C library's allocator deals memory out.
//!
//! glibc gives every thread that finds the heaps busy another one, up to eight for each processor, and each keeps what it
//! grew to. The threads that wait for disk and policies come and go, so that a server of two processors ended with sixteen
//! heaps of ten megabytes. A few are enough for what they share.

/// Heaps for each processor.
const PER_PROCESSOR: usize = 1;
/// The fewest and the most of them.
const BOUNDS: (usize, usize) = (2, 8);

/// Bounds the number of heaps. To be called before any other thread is started; elsewhere than with glibc it does nothing.
pub(crate) fn bound() {
    let processors = std::thread::available_parallelism().map_or(BOUNDS.0, std::num::NonZero::get);
    set((processors * PER_PROCESSOR).clamp(BOUNDS.0, BOUNDS.1));
}

#[cfg(target_env = "gnu")]
fn set(heaps: usize) {
    // One that the user asks for is theirs.
    if std::env::var_os("MALLOC_ARENA_MAX").is_some() {
        return;
    }
    let heaps = libc::c_int::try_from(heaps).expect("within the bounds");
    // SAFETY: it takes two numbers and touches no memory of ours; where it refuses, everything stays as it was.
    #[expect(unsafe_code, reason = "the C library has no other way to set this from within")]
    let taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, heaps) };
    if taken == 0 {
        tracing::debug!(heaps, "the number of heaps could not be bounded");
    }
}

#[cfg(not(target_env = "gnu"))]
fn set(_: usize) {}
