//! How deep a text nests, judged before it is parsed: the parser recurses, and a sandbox's stack is small.

/// The deepest nesting that is parsed.
pub(crate) const MAX_NESTING: usize = 64;
/// The longest text that is parsed.
pub(crate) const MAX_BYTES: usize = 100 * 1024;

/// An upper bound of the nesting of brackets and of the keywords that open a block.
pub(crate) fn depth(text: &str) -> usize {
    let (mut brackets, mut deepest, mut opened) = (0_usize, 0_usize, 0_usize);
    let mut start = 0;
    let word = |word: &str, opened: &mut usize| match word {
        "if" | "case" | "while" | "until" | "for" | "select" => *opened += 1,
        "fi" | "esac" | "done" => *opened = opened.saturating_sub(1),
        _ => {}
    };
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'{' | b'[' => brackets += 1,
            b')' | b'}' | b']' => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        if !byte.is_ascii_alphabetic() {
            word(text.get(start..at).unwrap_or_default(), &mut opened);
            start = at + 1;
        }
        deepest = deepest.max(brackets + opened);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_brackets_count_together() {
        assert_eq!(depth("echo hi"), 0);
        assert_eq!(depth("if true; then (a); fi"), 2);
        assert!(depth(&"if true; then ".repeat(100)) > MAX_NESTING);
        assert!(depth(&"$(".repeat(100)) > MAX_NESTING);
    }
}
