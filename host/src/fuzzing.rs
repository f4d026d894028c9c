//! What fuzzing calls: for each reader of bytes from outside one function that asserts what must hold of any input. Not
//! merely that nothing panics: nothing is forged from within, bounds are kept, what was read reads back.
//!
//! Each body stands beside what it looks at, in a module `fuzz`. Two callers share it: libFuzzer (`tests/fuzz`, run by
//! `make fuzz`) and the tests below, which replay the corpus and a bounded number of changed inputs. Compiled for these two
//! alone.

/// A target.
pub type Target = fn(&[u8]);

pub use crate::executor::fuzz::terminal;
pub use crate::gateway::fuzz::model;
pub use crate::mcp::fuzz::mcp;
pub use crate::pipeline::fuzz::result;
pub use crate::policy::fuzz::{manifest, verdict};
pub use crate::task::fuzz::envelope;

/// All of them, by the name of their folder in `tests/fuzz/corpus`.
pub const TARGETS: [(&str, Target); 7] = [
    ("envelope", envelope),
    ("result", result),
    ("manifest", manifest),
    ("verdict", verdict),
    ("terminal", terminal),
    ("mcp", mcp),
    ("model", model),
];

/// An input, taken apart from its begin: whatever the bytes are, they mean something.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub(crate) fn number(&mut self) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// One of several.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    /// Up to the next 0xFF, which no UTF-8 has.
    pub(crate) fn part(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|b| *b == 0xff).unwrap_or(self.0.len());
        let part = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        part
    }

    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.part()).into_owned()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::PathBuf;

    use super::*;
    use crate::env;

    /// Changed inputs for each target; `CODA_FUZZ_RUNS` sets another number.
    const RUNS: u64 = 1_500;
    /// Longest changed input.
    const LONGEST_BYTES: usize = 4_096;
    /// What the readers take apart: changed inputs get pieces of it.
    const PIECES: [&[u8]; 22] = [
        b"\x1b[",
        b"\x1b]52;c;",
        b"\x1bP",
        b"\x1b\\",
        b"\x07",
        b"\xc2\x9d",
        b"\xc2\x9c",
        b"\xc2",
        b"\xff",
        b"\r",
        b"\n",
        b"hunter22-secret",
        b"---END-CODA-TASK---",
        b"END TASK ",
        b"{",
        b"}",
        b"\"",
        b"[[policy]]\n",
        b"null",
        b"\xe4\xb8\xad",
        b"\0",
        b"1e400",
    ];

    fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut seeds: Vec<_> = entries
            .map(|entry| {
                let path = entry.expect("an entry").path();
                (path.display().to_string(), std::fs::read(&path).expect("a seed"))
            })
            .collect();
        seeds.sort();
        seeds
    }

    /// xorshift64*: the same numbers for the same seed.
    struct Dice(u64);

    impl Dice {
        fn next(&mut self) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).expect("31 bits")
        }

        fn below(&mut self, bound: usize) -> usize {
            self.next() % bound.max(1)
        }

        fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
            for _ in 0..=self.below(6) {
                let at = self.below(input.len() + 1);
                let end = (at + self.below(12)).min(input.len());
                match self.below(6) {
                    0 => drop(input.drain(at..end)),
                    1 => drop(input.splice(at..at, PIECES[self.below(PIECES.len())].iter().copied())),
                    2 => {
                        let from = self.below(other.len());
                        let piece = &other[from..(from + self.below(64)).min(other.len())];
                        drop(input.splice(at..end, piece.iter().copied()));
                    }
                    3 => input.iter_mut().skip(at).take(1).for_each(|b| *b ^= 1 << self.below(8)),
                    4 => input.iter_mut().skip(at).take(1).for_each(|b| *b = self.below(256).to_le_bytes()[0]),
                    _ => {
                        let again = input[at..end].to_vec();
                        drop(input.splice(at..at, again.iter().copied().cycle().take(again.len() * self.below(8))));
                    }
                }
                input.truncate(LONGEST_BYTES);
            }
        }
    }

    #[test]
    fn the_corpus_holds() {
        for (name, target) in TARGETS {
            let seeds = corpus(name);
            assert!(seeds.len() >= 4, "{name} has {} seeds only", seeds.len());
            for (path, seed) in seeds {
                if catch_unwind(|| target(&seed)).is_err() {
                    panic!("{name} does not hold for {path}");
                }
            }
        }
    }

    #[test]
    fn changed_inputs_hold() {
        let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
        let seed = number("CODA_FUZZ_SEED").unwrap_or_else(|| u64::from_le_bytes(env::random_bytes()));
        let runs = number("CODA_FUZZ_RUNS").unwrap_or(RUNS);
        println!("CODA_FUZZ_SEED={seed}");
        for (name, target) in TARGETS {
            let seeds = corpus(name);
            let mut dice = Dice(seed | 1);
            for run in 0..runs {
                let mut input = seeds[dice.below(seeds.len())].1.clone();
                let other = &seeds[dice.below(seeds.len())].1;
                dice.change(&mut input, other);
                if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                    let path = std::env::temp_dir().join(format!("coda-fuzz-{name}-{}", &env::sha256_hex(&input)[..12]));
                    std::fs::write(&path, &input).expect("writes");
                    panic!("{name} does not hold in run {run} of CODA_FUZZ_SEED={seed}: the input is {}", path.display());
                }
            }
        }
    }
}
