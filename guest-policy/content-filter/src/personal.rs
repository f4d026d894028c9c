//! Personal data: pattern, then check digit where the kind has one.

/// Kinds, with their pattern.
pub(crate) const KINDS: &[(&str, &str)] = &[
    ("email", r"\b[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9\-]{0,62}\.){1,8}[A-Za-z]{2,24}\b"),
    (
        "phone",
        r"(?:\+\d{1,3}[ .\-]?)(?:\(?\d{1,4}\)?[ .\-]?){2,5}\d{2,4}\b|\(\d{3}\) ?\d{3}[ .\-]\d{4}\b|\b\d{3}[.\-]\d{3}[.\-]\d{4}\b",
    ),
    ("card", r"\b\d(?:[ \-]?\d){12,18}\b"),
    ("iban", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b"),
    ("ssn", r"\b\d{3}-\d{2}-\d{4}\b"),
    ("ip", r"\b(?:\d{1,3}\.){3}\d{1,3}\b"),
];

/// Whether a match is what its kind says.
pub(crate) fn holds(kind: &str, text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    match kind {
        "card" => {
            (13..=19).contains(&digits.len())
                && luhn(&digits)
                && digits.iter().any(|digit| *digit != digits[0])
                && matches!(digits[0], 2..=6)
        }
        "iban" => mod97(text),
        "ssn" => {
            !text.starts_with("000")
                && !text.starts_with("666")
                && !text.starts_with('9')
                && &text[4..6] != "00"
                && &text[7..] != "0000"
        }
        "phone" => (7..=15).contains(&digits.len()),
        "ip" => text.split('.').all(|part| part.parse::<u8>().is_ok()) && !text.starts_with("127.") && !text.starts_with("0."),
        _ => true,
    }
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            if at % 2 == 1 {
                let twice = digit * 2;
                if twice > 9 { twice - 9 } else { twice }
            } else {
                *digit
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn mod97(text: &str) -> bool {
    let plain: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    if !(15..=34).contains(&plain.len()) {
        return false;
    }
    let remainder = plain[4..].iter().chain(&plain[..4]).try_fold(0_u32, |remainder, c| {
        let value = c.to_digit(36)?;
        Some(if value > 9 { (remainder * 100 + value) % 97 } else { (remainder * 10 + value) % 97 })
    });
    remainder == Some(1)
}
