//! `coda login`: a one-time link for a browser, made by somebody who is logged in here already.

use serde_json::json;

use super::context::{CliError, Context, Format};
use super::print;

pub(super) async fn run(context: &Context) -> Result<(), CliError> {
    let answer = context.post("/v1/login/link", &json!({})).await?;
    let path = answer["path"].as_str().unwrap_or_default();
    let address = super::http::address(context).await?;
    let url = answer["url"].as_str().map_or_else(|| format!("{address}{path}"), str::to_owned);
    match context.format {
        Format::Json => print::json(&json!({ "url": url })),
        Format::Human => {
            print::line(&print::clean(&url))?;
            print::progress("opens once, for a short time; whoever opens it is you");
            Ok(())
        }
    }
}
