//! How a setting's value is read from the environment or a flag, and shown as TOML.

use crate::usage::Usd;

/// A type that a plain setting can have.
pub(super) trait SettingValue: Sized + Clone {
    /// From the text of an environment variable or flag; the error says what is expected.
    fn read(text: &str) -> Result<Self, String>;
    /// As TOML; empty where it is unset.
    fn show(&self) -> String;
}

/// A text as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl SettingValue for String {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn show(&self) -> String {
        quoted(self)
    }
}

impl SettingValue for Option<String> {
    fn read(text: &str) -> Result<Self, String> {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }
    fn show(&self) -> String {
        self.as_deref().map(quoted).unwrap_or_default()
    }
}

impl SettingValue for Vec<String> {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }
    fn show(&self) -> String {
        let items: Vec<String> = self.iter().map(|item| quoted(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

impl SettingValue for u64 {
    fn read(text: &str) -> Result<Self, String> {
        text.replace('_', "").parse().map_err(|_| "expected a whole number".to_owned())
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl SettingValue for Usd {
    fn read(text: &str) -> Result<Self, String> {
        Usd::parse(text)
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl SettingValue for u16 {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected a whole number up to {}", u16::MAX))
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl SettingValue for bool {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("expected true or false".to_owned()),
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}
