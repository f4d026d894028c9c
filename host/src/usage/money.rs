//! Sums of money, exact to a billionth of a US dollar, and what tokens cost.

use std::fmt;

/// US dollars, not below zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usd(u64);

const NANOS: u64 = 1_000_000_000;
/// Digits behind the point.
const DIGITS: usize = 9;
/// More than anybody means to write.
const MAX_USD: u64 = 1_000_000_000;
const EXPECTED: &str = "expected a sum in US dollars such as 2.5";

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads `2.5`, `0.0375`, `10`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) || part.len() > DIGITS {
            return Err(EXPECTED.to_owned());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| EXPECTED.to_owned())? };
        if whole > MAX_USD {
            return Err(format!("{EXPECTED}, {MAX_USD} at most"));
        }
        let part: u64 = format!("{part:0<DIGITS$}").parse().map_err(|_| EXPECTED.to_owned())?;
        Ok(Self(whole * NANOS + part))
    }

    /// So many millionths.
    #[must_use]
    pub fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / NANOS, self.0 % NANOS);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let part = format!("{part:0DIGITS$}");
        write!(f, "{whole}.{}", part.trim_end_matches('0'))
    }
}

impl<'de> serde::Deserialize<'de> for Usd {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Number;
        impl serde::de::Visitor<'_> for Number {
            type Value = Usd;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sum in US dollars such as 2.5")
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Usd, E> {
                Usd::parse(&value.to_string()).map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Usd, E> {
                Usd::parse(&value.to_string()).map_err(E::custom)
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Usd, E> {
                // The shortest text that reads back as the same number: what was written.
                Usd::parse(&value.to_string()).map_err(E::custom)
            }
        }
        from.deserialize_f64(Number)
    }
}

/// What a model costs, for a million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prices {
    /// That it reads.
    pub input: Usd,
    /// That it writes.
    pub output: Usd,
}

impl Prices {
    /// What so many tokens cost, in millionths of a US dollar, rounded up.
    #[must_use]
    pub fn cost_micro_usd(&self, input_tokens: u64, output_tokens: u64) -> u64 {
        let one = |tokens: u64, price: Usd| u128::from(tokens) * u128::from(price.0);
        // Billionths of a dollar for a million tokens: divided by a million and by a thousand.
        let sum = one(input_tokens, self.input).saturating_add(one(output_tokens, self.output));
        u64::try_from(sum.div_ceil(u128::from(NANOS))).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_as_they_are_written() {
        for (text, shown) in [("2.5", "2.5"), ("0.0375", "0.0375"), ("10", "10"), (".5", "0.5"), ("0", "0"), ("3.000", "3")] {
            assert_eq!(Usd::parse(text).expect(text).to_string(), shown);
        }
        for bad in ["", ".", "-1", "1e3", "1,5", "NaN", "inf", "0.0000000001", "99999999999", "1.2.3"] {
            assert!(Usd::parse(bad).is_err(), "{bad}");
        }
        let in_a_file = |text: &str| toml::from_str::<std::collections::BTreeMap<String, Usd>>(text).map(|table| table["a"]);
        assert_eq!(in_a_file("a = 3").expect("a sum"), Usd::parse("3").expect("a sum"));
        assert_eq!(in_a_file("a = 0.075").expect("a sum"), Usd::parse("0.075").expect("a sum"));
        for bad in ["a = -1", "a = nan", "a = inf", "a = \"3\"", "a = true"] {
            assert!(in_a_file(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_cost_what_their_prices_say_and_never_less() {
        let prices = Prices { input: Usd::parse("3").expect("a sum"), output: Usd::parse("15").expect("a sum") };
        assert_eq!(prices.cost_micro_usd(1_000_000, 0), 3_000_000);
        assert_eq!(prices.cost_micro_usd(1_000, 100), 3_000 + 1_500);
        let cheap = Prices { input: Usd::parse("0.0375").expect("a sum"), output: Usd::default() };
        assert_eq!(cheap.cost_micro_usd(1, 0), 1, "rounded up");
        assert_eq!(prices.cost_micro_usd(u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(Prices::default().cost_micro_usd(1_000, 1_000), 0);
    }
}
