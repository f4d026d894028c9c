//! The rules for secrets: a keyword that must be there, and a pattern. Prefixes and lengths are the vendors' published
//! facts. Group 1, where a pattern has one, is what is masked; else the whole match.

/// One kind of secret.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// Kind, the tail of the code `secret.KIND`.
    pub(crate) kind: &'static str,
    /// At least one of these, in lower case, must be in the text.
    pub(crate) keywords: &'static [&'static str],
    /// The pattern.
    pub(crate) pattern: &'static str,
    /// Whether the match must also look random.
    pub(crate) check: Check,
}

/// What a match must pass besides its pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// The form is proof enough.
    Form,
    /// It must not be a placeholder.
    NoPlaceholder,
    /// It must look random, as keys do.
    Random,
}

const fn rule(kind: &'static str, keywords: &'static [&'static str], pattern: &'static str, check: Check) -> Rule {
    Rule { kind, keywords, pattern, check }
}

use Check::{Form, NoPlaceholder, Random};

/// Every rule; the more special ones first.
pub(crate) const RULES: &[Rule] = &[
    rule(
        "private-key",
        &["private key"],
        r"(?s)-----BEGIN[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.{16,}?-----END[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
        Form,
    ),
    rule(
        "private-key",
        &["private key"],
        r"-----BEGIN[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:\\n|[A-Za-z0-9+/=\s]){24,}",
        Form,
    ),
    rule("age-key", &["age-secret-key-1"], r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}", Form),
    rule("aws-access-key", &["akia", "asia", "abia", "acca"], r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b", NoPlaceholder),
    rule(
        "aws-secret",
        &["aws", "secret"],
        r#"(?i)\baws.{0,24}(?:secret|key).{0,24}?["'=:\s]{1,4}([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
        Random,
    ),
    rule(
        "aws-secret",
        &["secretaccesskey", "secret_access_key", "secret access key"],
        r#"(?i)secret.?access.?key["'\s:=]{1,8}([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
        Random,
    ),
    rule("github-token", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b", Form),
    rule("github-token", &["github_pat_"], r"\bgithub_pat_[A-Za-z0-9_]{22,255}", Form),
    rule(
        "gitlab-token",
        &["glpat-", "gldt-", "glrt-", "glptt-", "glft-", "glsoat-", "glagent-", "glcbt-", "glimt-", "glffct-", "gloas-"],
        r"\bgl(?:pat|dt|rt|ptt|ft|soat|agent|cbt|imt|ffct|oas)-[A-Za-z0-9_\-]{18,}",
        Form,
    ),
    rule("gitlab-token", &["gr1348941"], r"\bGR1348941[A-Za-z0-9_\-]{20}", Form),
    rule(
        "slack-token",
        &["xox", "xapp-", "xwfp-"],
        r"(?i)\b(?:xox[a-z](?:\.xox[a-z])?|xapp|xwfp)-[A-Za-z0-9\-]{10,}",
        NoPlaceholder,
    ),
    rule(
        "slack-webhook",
        &["hooks.slack.com"],
        r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_\-]{20,}",
        Form,
    ),
    rule("anthropic-key", &["sk-ant-"], r"\bsk-ant-[a-z0-9]{2,10}-[A-Za-z0-9_\-]{20,}", Form),
    rule("openai-key", &["sk-"], r"\bsk-(?:proj-|svcacct-|admin-|or-v1-)?[A-Za-z0-9_\-]{20,}", Random),
    rule("databricks-token", &["dapi", "dose", "dkea"], r"\b(?:dapi|dose|dkea)[a-f0-9]{32}(?:-\d)?\b", Form),
    rule("google-api-key", &["aiza"], r"\bAIza[A-Za-z0-9_\-]{35}", Form),
    rule("google-oauth", &["gocspx-", "ya29."], r"\b(?:GOCSPX-[A-Za-z0-9_\-]{28}|ya29\.[A-Za-z0-9_\-]{20,})", Form),
    rule("jwt", &["eyj"], r"\beyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-/+]{4,}", Form),
    rule(
        "stripe-key",
        &["sk_live_", "rk_live_", "sk_test_", "rk_test_", "sk_prod_", "rk_prod_", "whsec_"],
        r"\b(?:(?:sk|rk)_(?:live|test|prod)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{24,})",
        NoPlaceholder,
    ),
    rule("npm-token", &["npm_"], r"\bnpm_[A-Za-z0-9]{36}\b", Form),
    rule("pypi-token", &["pypi-"], r"\bpypi-[A-Za-z0-9_\-]{50,}", Form),
    rule("rubygems-token", &["rubygems_"], r"\brubygems_[a-f0-9]{48}\b", Form),
    rule("sendgrid-key", &["sg."], r"\bSG\.[A-Za-z0-9_\-]{16,32}\.[A-Za-z0-9_\-]{16,64}", Form),
    rule("twilio-key", &["sk"], r"\bSK[0-9a-f]{32}\b", Form),
    rule("mailgun-key", &["key-"], r"\bkey-[0-9a-f]{32}\b", Form),
    rule("mailchimp-key", &["-us"], r"\b[0-9a-f]{32}-us\d{1,2}\b", Form),
    rule("telegram-token", &[":aa"], r"\b\d{5,16}:AA[A-Za-z0-9_\-]{32,33}\b", Form),
    rule("digitalocean-token", &["doo_v1_", "dop_v1_", "dor_v1_"], r"\bdo[opr]_v1_[a-f0-9]{64}\b", Form),
    rule("shopify-token", &["shpat_", "shpca_", "shppa_", "shpss_"], r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b", Form),
    rule("square-token", &["sq0", "eaaa"], r"\b(?:sq0[a-z]{3}-[A-Za-z0-9_\-]{22,60}|EAAA[A-Za-z0-9_\-]{56,60})\b", Form),
    rule("vault-token", &["hvs.", "hvb.", "hvr."], r"\bhv[sbr]\.[A-Za-z0-9_\-]{20,}", Form),
    rule("terraform-token", &["atlasv1"], r"\b[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=\-]{60,}", Form),
    rule("huggingface-token", &["hf_", "api_org_"], r"\b(?:hf_|api_org_)[A-Za-z0-9]{30,}\b", Form),
    rule(
        "azure-storage-key",
        &["accountkey", "sharedaccesskey"],
        r"(?i)(?:AccountKey|SharedAccessKey)\s*=\s*([A-Za-z0-9+/]{40,}={0,2})",
        Form,
    ),
    rule("azure-secret", &["8q~", "7q~"], r"\b[A-Za-z0-9_~.]{3}[78]Q~[A-Za-z0-9_~.\-]{31,34}", Form),
    rule("azure-sas", &["sig="], r"(?i)[?&]sig=([A-Za-z0-9%+/=]{40,})", Form),
    rule("azure-devops-token", &["azdo"], r"\b[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}\b", Form),
    rule(
        "platform-token",
        &[
            "lin_api_",
            "ntn_",
            "figd_",
            "atatt3",
            "glsa_",
            "glc_",
            "nrak-",
            "nrii-",
            "nraa-",
            "sntrys_",
            "sntryu_",
            "dckr_pat_",
            "dckr_oat_",
            "pmak-",
            "pul-",
            "dp.pt.",
            "dp.st.",
            "fo1_",
            "fm1r_",
            "fm2_",
            "hrku-",
            "pplx-",
            "gsk_",
            "r8_",
            "ops_ey",
            "pscale_",
            "sbp_",
            "akcp",
            "ezak",
            "eztk",
            "shippo_",
            "aio_",
            "lin_oauth_",
            "phc_",
            "phx_",
            "tfp_",
            "rdme_",
            "xkeysib-",
            "sgp_",
            "duffel_",
            "prefix_",
            "secret-",
            "apify_api_",
            "dt0c01.",
            "dop_",
            "flb_",
            "flwseck",
            "sl.",
            "atlassian",
            "xai-",
            "nvapi-",
            "tvly-",
            "jfrog",
            "cmvt",
            "ion_",
            "oauth2:",
            "pat-na1",
            "pat-eu1",
            "bkua_",
            "dnkey-",
            "pnu_",
            "sq_",
            "vercel_",
            "cio",
            "lsv2_",
            "tok_",
            "rnd_",
            "zpka_",
            "sonar",
            "squ_",
            "sqp_",
            "sqa_",
            "key_",
        ],
        r"\b(?:lin_api_[A-Za-z0-9]{30,}|lin_oauth_[a-f0-9]{30,}|ntn_[A-Za-z0-9]{40,}|figd_[A-Za-z0-9_\-]{30,}|ATATT3[A-Za-z0-9_\-=]{60,}|glsa_[A-Za-z0-9_]{30,}|glc_[A-Za-z0-9+/=]{30,}|NR(?:AK|II|AA|JS|RA|BR)-[A-Za-z0-9_\-]{19,}|sntry[su]_[A-Za-z0-9+/=_\-]{40,}|dckr_[po]at_[A-Za-z0-9_\-]{20,}|PMAK-[a-f0-9]{24}-[a-f0-9]{34}|pul-[a-f0-9]{40}|dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.\-]{30,}|fo1_[\w\-]{40,}|fm[12]r?_[A-Za-z0-9+/=]{60,}|HRKU-[A-Za-z0-9_\-]{30,}|pplx-[A-Za-z0-9]{40,}|gsk_[A-Za-z0-9]{40,}|r8_[A-Za-z0-9]{30,}|ops_eyJ[A-Za-z0-9+/=]{100,}|pscale_(?:tkn|oauth|pw)_[A-Za-z0-9_.=\-]{30,}|sbp_[a-f0-9]{40}|AKCp[A-Za-z0-9]{60,}|EZ[AT]K[A-Za-z0-9]{54}|shippo_(?:live|test)_[a-fA-F0-9]{40}|aio_[A-Za-z0-9]{28}|ph[cx]_[A-Za-z0-9]{40,}|tfp_[A-Za-z0-9_\-=]{40,}|rdme_[a-z0-9]{70}|xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}|sgp_(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40}|duffel_(?:test|live)_[A-Za-z0-9_\-=]{43}|apify_api_[A-Za-z0-9]{30,}|dt0c01\.[A-Z0-9]{24}\.[A-Z0-9]{64}|FLWSECK(?:_TEST)?-[a-z0-9]{12,}|xai-[A-Za-z0-9]{60,}|nvapi-[A-Za-z0-9_\-]{60,}|tvly-[A-Za-z0-9\-]{30,}|pat-(?:na|eu)1-[a-f0-9\-]{36}|bkua_[a-z0-9]{40}|lsv2_[a-z]{2}_[a-f0-9]{32}_[a-f0-9]{10}|sq[upa]_[a-f0-9]{40}|pnu_[A-Za-z0-9]{36})",
        Form,
    ),
    rule(
        "webhook",
        &["discord.com/api/webhooks", "discordapp.com/api/webhooks", "webhook.office.com"],
        r"https://(?:(?:ptb\.|canary\.)?discord(?:app)?\.com/api/webhooks/\d+/[A-Za-z0-9_\-]{40,}|[a-z0-9]+\.webhook\.office\.com/webhookb2/[A-Za-z0-9@/\-]{60,})",
        Form,
    ),
    rule(
        "url-password",
        &["://"],
        r#"\b[A-Za-z][A-Za-z0-9+.\-]{1,24}://[^\s:/@'"<>]{0,80}:([^\s@/'"<>]{3,120})@[A-Za-z0-9\[]"#,
        NoPlaceholder,
    ),
    rule(
        "authorization",
        &["authorization", "x-api-key", "bearer "],
        r#"(?i)\b(?:authorization["']?\s*[:=]\s*["']?(?:basic|bearer|token|apikey)\s+|x-api-key["']?\s*[:=]\s*["']?|bearer\s+)([A-Za-z0-9+/_.~=\-]{16,})"#,
        Random,
    ),
    rule(
        "basic-auth",
        &["-u", "--user"],
        r#"(?:\s-u\s*|\s--user[ =])["']?[A-Za-z0-9_.@\-]{1,64}:([^\s"'$]{6,120})"#,
        NoPlaceholder,
    ),
    rule(
        "password-option",
        &["-p", "--password", "--passwd"],
        r#"(?:\s--passw(?:or)?d[ =]|\bmysql\b[^\n|;]{0,80}\s-p|\bsshpass\s+-p\s*)["']?([^\s"'$]{6,120})"#,
        NoPlaceholder,
    ),
    rule(
        "assignment",
        &[
            "secret",
            "token",
            "passw",
            "pwd",
            "api_key",
            "apikey",
            "api-key",
            "access_key",
            "accesskey",
            "access-key",
            "private_key",
            "credential",
            "auth",
            "_key",
            "-key",
            "key",
        ],
        r#"(?i)[\w.\-]{0,40}(?:secret|token|passw(?:or)?d|passphrase|pwd|api[_.\- ]?key|access[_.\- ]?key|private[_.\- ]?key|account[_.\- ]?key|auth[_.\- ]?key|encryption[_.\- ]?key|client[_.\- ]?key|app(?:lication)?[_.\- ]?key|signing[_.\- ]?key|license[_.\- ]?key|credential|auth)s?[\w.\-]{0,24}["'`\]]{0,2}\s{0,4}(?:=>|:=|==|=|:|\|\||,|\()\s{0,4}["'`@]{0,3}([A-Za-z0-9+/_.~=!@#%^&*\-]{8,160})"#,
        Random,
    ),
];

/// Whether a match is a stand-in rather than a secret.
pub(crate) fn placeholder(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "example",
        "changeme",
        "change_me",
        "your_",
        "your-",
        "yourp",
        "yours",
        "placeholder",
        "dummy",
        "redacted",
        "xxxx",
        "<",
        "${",
        "$(",
        "{{",
        "%(",
        "process.env",
        "os.environ",
        "getenv",
        "environ",
        "todo",
        "notreal",
        "not-real",
        "insert",
        "sample",
        "masked",
        "[secret:",
        "config.",
        "settings.",
        "self.",
        "this.",
        "fake",
        "replace",
        "undefined",
        "secretref",
        "valuefrom",
        "mypassword",
        "password123",
        "1234567890abcdef1234",
    ];
    let lower = text.to_ascii_lowercase();
    WORDS.iter().any(|word| lower.contains(word)) || lower.starts_with(['$', '%', '*']) || one_kind(text)
}

/// `********`, `aaaaaaa`, `password`: nothing in it varies.
fn one_kind(text: &str) -> bool {
    let mut seen = [false; 256];
    text.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    let kinds = seen.iter().filter(|seen| **seen).count();
    kinds <= 3 || matches!(text.to_ascii_lowercase().as_str(), "password" | "secret" | "username" | "passw0rd")
}

/// Whether a text looks like a key: mixed characters and enough of them per length.
pub(crate) fn random(text: &str) -> bool {
    if placeholder(text) {
        return false;
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let upper = text.bytes().filter(u8::is_ascii_uppercase).count();
    let lower = text.bytes().filter(u8::is_ascii_lowercase).count();
    let symbols = text.len() - digits - upper - lower;
    let entropy = entropy(text);
    let path = text.matches('/').count() > 2 && !text.contains(['+', '=']) || text.starts_with("./") || text.starts_with("//");
    let dotted = text.contains('.')
        && text.split('.').all(|part| part.len() < 16 && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    if path || dotted {
        return false;
    }
    let mixed = usize::from(digits > 0) + usize::from(upper > 0) + usize::from(lower > 0) + usize::from(symbols > 0);
    match text.len() {
        ..12 => digits > 0 && mixed >= 3 && entropy >= 2.7,
        12..20 => digits >= 2 && mixed >= 2 && entropy >= 3.0,
        _ => digits >= 2 && mixed >= 2 && entropy >= 3.1 || upper > 4 && lower > 4 && symbols * 8 < text.len() && entropy >= 4.0,
    }
}

/// Shannon entropy in bits per byte.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let length = f64::from(u32::try_from(text.len().max(1)).unwrap_or(u32::MAX));
    counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / length).map(|share| -share * share.log2()).sum()
}
