//! Secrets that begin with a fixed text and go on with so many characters of one class. Prefixes and lengths are the
//! vendors' published facts.

/// One kind of token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    /// Kind, the tail of the code `secret.KIND`.
    pub(crate) kind: &'static str,
    /// What it begins with, in the case in which it is written.
    pub(crate) prefix: &'static str,
    class: Class,
    least: usize,
    most: usize,
}

/// Characters that go on after the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// `a-f0-9`.
    Hex,
    /// `A-F`, too.
    AnyHex,
    /// `A-Z2-7`.
    Base32,
    /// `A-Z0-9`.
    Upper,
    /// Letters and digits.
    Alnum,
    /// With `-` and `_`.
    Url,
    /// With `.` too.
    Dotted,
    /// With `+`, `/` and `=`.
    Base64,
}

use Class::{Alnum, AnyHex, Base32, Base64, Dotted, Hex, Upper, Url};

const fn token(kind: &'static str, prefix: &'static str, class: Class, least: usize, most: usize) -> Token {
    Token { kind, prefix, class, least, most }
}

/// Without a known end.
const ANY: usize = 4_096;

/// Every token.
pub(crate) const TOKENS: &[Token] = &[
    token("age-key", "AGE-SECRET-KEY-1", Upper, 58, 58),
    token("aws-access-key", "AKIA", Base32, 16, 16),
    token("aws-access-key", "ASIA", Base32, 16, 16),
    token("aws-access-key", "ABIA", Base32, 16, 16),
    token("aws-access-key", "ACCA", Base32, 16, 16),
    token("github-token", "ghp_", Alnum, 36, 255),
    token("github-token", "gho_", Alnum, 36, 255),
    token("github-token", "ghu_", Alnum, 36, 255),
    token("github-token", "ghs_", Alnum, 36, 255),
    token("github-token", "ghr_", Alnum, 36, 255),
    token("github-token", "github_pat_", Url, 22, 255),
    token("gitlab-token", "glpat-", Dotted, 20, 320),
    token("gitlab-token", "gldt-", Url, 20, 64),
    token("gitlab-token", "glrt-", Dotted, 20, 320),
    token("gitlab-token", "glptt-", Hex, 40, 40),
    token("gitlab-token", "glft-", Url, 20, 64),
    token("gitlab-token", "glsoat-", Url, 20, 20),
    token("gitlab-token", "glagent-", Url, 50, 50),
    token("gitlab-token", "glcbt-", Url, 20, 40),
    token("gitlab-token", "glimt-", Url, 25, 25),
    token("gitlab-token", "glffct-", Url, 20, 20),
    token("gitlab-token", "gloas-", Url, 64, 64),
    token("gitlab-token", "GR1348941", Url, 20, 20),
    token("anthropic-key", "sk-ant-", Url, 24, ANY),
    token("openai-key", "sk-proj-", Url, 20, ANY),
    token("openai-key", "sk-svcacct-", Url, 20, ANY),
    token("openai-key", "sk-admin-", Url, 20, ANY),
    token("openai-key", "sk-or-v1-", Url, 20, ANY),
    token("openai-key", "sk-", Alnum, 32, 128),
    token("databricks-token", "dapi", Hex, 32, 34),
    token("databricks-token", "dose", Hex, 32, 34),
    token("databricks-token", "dkea", Hex, 32, 34),
    token("google-api-key", "AIza", Url, 35, 35),
    token("google-oauth", "GOCSPX-", Url, 28, 28),
    token("google-oauth", "ya29.", Url, 20, ANY),
    token("stripe-key", "sk_live_", Alnum, 10, 255),
    token("stripe-key", "sk_test_", Alnum, 10, 255),
    token("stripe-key", "sk_prod_", Alnum, 10, 255),
    token("stripe-key", "rk_live_", Alnum, 10, 255),
    token("stripe-key", "rk_test_", Alnum, 10, 255),
    token("stripe-key", "rk_prod_", Alnum, 10, 255),
    token("stripe-key", "whsec_", Base64, 24, 255),
    token("npm-token", "npm_", Alnum, 36, 36),
    token("pypi-token", "pypi-AgE", Url, 50, ANY),
    token("rubygems-token", "rubygems_", Hex, 48, 48),
    token("sendgrid-key", "SG.", Dotted, 40, 100),
    token("twilio-key", "SK", Hex, 32, 32),
    token("mailgun-key", "key-", Hex, 32, 32),
    token("digitalocean-token", "doo_v1_", Hex, 64, 64),
    token("digitalocean-token", "dop_v1_", Hex, 64, 64),
    token("digitalocean-token", "dor_v1_", Hex, 64, 64),
    token("shopify-token", "shpat_", AnyHex, 32, 32),
    token("shopify-token", "shpca_", AnyHex, 32, 32),
    token("shopify-token", "shppa_", AnyHex, 32, 32),
    token("shopify-token", "shpss_", AnyHex, 32, 32),
    token("square-token", "sq0", Url, 26, 64),
    token("square-token", "EAAA", Url, 56, 60),
    token("vault-token", "hvs.", Url, 20, ANY),
    token("vault-token", "hvb.", Url, 20, ANY),
    token("vault-token", "hvr.", Url, 20, ANY),
    token("huggingface-token", "hf_", Alnum, 30, 64),
    token("huggingface-token", "api_org_", Alnum, 30, 64),
    token("platform-token", "lin_api_", Alnum, 30, 64),
    token("platform-token", "lin_oauth_", Hex, 30, 80),
    token("platform-token", "ntn_", Alnum, 40, 64),
    token("platform-token", "figd_", Url, 30, 80),
    token("platform-token", "ATATT3", Base64, 60, 400),
    token("platform-token", "ATCTT3", Base64, 60, 400),
    token("platform-token", "ATBB", Alnum, 32, 40),
    token("platform-token", "glsa_", Url, 30, 80),
    token("platform-token", "glc_", Base64, 30, 400),
    token("platform-token", "NRAK-", Upper, 20, 40),
    token("platform-token", "NRII-", Url, 20, 40),
    token("platform-token", "NRAA-", Url, 20, 40),
    token("platform-token", "NRJS-", Url, 19, 40),
    token("platform-token", "sntrys_eyJ", Base64, 40, 600),
    token("platform-token", "sntryu_", Hex, 64, 64),
    token("platform-token", "dckr_pat_", Url, 20, 64),
    token("platform-token", "dckr_oat_", Url, 20, 64),
    token("platform-token", "PMAK-", Url, 59, 59),
    token("platform-token", "pul-", Hex, 40, 40),
    token("platform-token", "dp.pt.", Alnum, 40, 60),
    token("platform-token", "dp.st.", Dotted, 40, 120),
    token("platform-token", "dp.ct.", Alnum, 40, 60),
    token("platform-token", "dp.sa.", Alnum, 40, 60),
    token("platform-token", "dp.scim.", Alnum, 40, 60),
    token("platform-token", "dp.audit.", Alnum, 40, 60),
    token("platform-token", "fo1_", Url, 40, 60),
    token("platform-token", "fm1_", Base64, 60, 800),
    token("platform-token", "fm1a_", Base64, 60, 800),
    token("platform-token", "fm1r_", Base64, 60, 800),
    token("platform-token", "fm2_", Base64, 60, 800),
    token("platform-token", "HRKU-", Url, 30, 80),
    token("platform-token", "pplx-", Alnum, 40, 64),
    token("platform-token", "gsk_", Alnum, 40, 64),
    token("platform-token", "r8_", Alnum, 30, 64),
    token("platform-token", "ops_eyJ", Base64, 100, ANY),
    token("platform-token", "pscale_tkn_", Dotted, 30, 80),
    token("platform-token", "pscale_oauth_", Dotted, 30, 80),
    token("platform-token", "pscale_pw_", Dotted, 30, 80),
    token("platform-token", "sbp_", Hex, 40, 40),
    token("platform-token", "AKCp", Alnum, 60, 80),
    token("platform-token", "cmVmd", Alnum, 50, 80),
    token("platform-token", "EZAK", Alnum, 54, 54),
    token("platform-token", "EZTK", Alnum, 54, 54),
    token("platform-token", "shippo_live_", AnyHex, 40, 40),
    token("platform-token", "shippo_test_", AnyHex, 40, 40),
    token("platform-token", "aio_", Alnum, 28, 28),
    token("platform-token", "phc_", Url, 40, 64),
    token("platform-token", "phx_", Url, 40, 64),
    token("platform-token", "tfp_", Base64, 40, 80),
    token("platform-token", "rdme_", Alnum, 70, 70),
    token("platform-token", "xkeysib-", Url, 81, 81),
    token("platform-token", "sgp_", Url, 40, 80),
    token("platform-token", "duffel_test_", Base64, 43, 43),
    token("platform-token", "duffel_live_", Base64, 43, 43),
    token("platform-token", "apify_api_", Alnum, 30, 48),
    token("platform-token", "dt0c01.", Dotted, 89, 89),
    token("platform-token", "FLWSECK", Url, 13, 60),
    token("platform-token", "FLWPUBK", Url, 13, 60),
    token("platform-token", "xai-", Url, 60, 120),
    token("platform-token", "nvapi-", Url, 60, 80),
    token("platform-token", "tvly-", Url, 30, 48),
    token("platform-token", "pat-na1-", Url, 36, 36),
    token("platform-token", "pat-eu1-", Url, 36, 36),
    token("platform-token", "bkua_", Alnum, 40, 40),
    token("platform-token", "lsv2_", Url, 46, 46),
    token("platform-token", "squ_", Hex, 40, 40),
    token("platform-token", "sqp_", Hex, 40, 40),
    token("platform-token", "sqa_", Hex, 40, 40),
    token("platform-token", "pnu_", Alnum, 36, 36),
    token("platform-token", "tskey-", Url, 24, 80),
    token("platform-token", "sha256~", Url, 43, 43),
    token("platform-token", "odt_", Alnum, 36, 36),
    token("platform-token", "oy2", Alnum, 43, 43),
    token("platform-token", "CFPAT-", Url, 43, 43),
    token("platform-token", "p8e-", Alnum, 32, 32),
    token("platform-token", "EAAC", Alnum, 100, 400),
    token("platform-token", "EAAM", Alnum, 100, 400),
    token("platform-token", "LTAI", Alnum, 17, 24),
    token("platform-token", "t1.", Base64, 90, 300),
    token("platform-token", "AQVN", Url, 35, 40),
    token("platform-token", "sk_", Alnum, 40, 64),
];

impl Token {
    /// The end of the token whose prefix stands at `start..from`, if it is one.
    pub(crate) fn end(&self, text: &str, start: usize, from: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        let before = start.checked_sub(1).map_or(b' ', |at| bytes[at]);
        if &text[start..from] != self.prefix || word(before) || matches!(before, b'+' | b'/') {
            return None;
        }
        let length = bytes[from..].iter().take(self.most + 1).take_while(|byte| self.class.holds(**byte)).count();
        let mut end = from + length;
        // A sentence may end right after it.
        while end > from && bytes[end - 1] == b'.' {
            end -= 1;
        }
        let next = bytes.get(end).copied().unwrap_or(b' ');
        ((self.least..=self.most).contains(&(end - from)) && !word(next)).then_some(end)
    }
}

impl Class {
    fn holds(self, byte: u8) -> bool {
        match self {
            Hex => matches!(byte, b'a'..=b'f' | b'0'..=b'9'),
            AnyHex => byte.is_ascii_hexdigit(),
            Base32 => matches!(byte, b'A'..=b'Z' | b'2'..=b'7'),
            Upper => matches!(byte, b'A'..=b'Z' | b'0'..=b'9'),
            Alnum => byte.is_ascii_alphanumeric(),
            Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
            Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'/' | b'='),
        }
    }
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
