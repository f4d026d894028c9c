//! Infrastructure as code: destroying it, and changing it without a question.

use crate::hit::Hit;
use crate::shell::Command;

pub(super) fn infrastructure(command: &Command, program: &str, texts: &[&str], hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    let first = texts.iter().find(|word| !matches!(**word, "run-all" | "run" | "stack")).copied().unwrap_or_default();
    let name =
        texts.get(1..).map(|rest| rest.join(" ")).filter(|name| !name.is_empty()).unwrap_or_else(|| "of this folder".to_owned());
    let flag = |flag: &str| {
        argv.iter().any(|arg| {
            arg.text.trim_start_matches('-') == flag.trim_start_matches('-')
                || arg.text.trim_start_matches('-').starts_with(&format!("{flag}="))
        })
    };
    if first == "destroy" || first == "apply" && flag("destroy") || first == "down" && program == "pulumi" {
        hits.push(Hit::of(command, "iac.destroy", "infrastructure", &name));
    } else if first == "state" && texts.iter().any(|word| matches!(*word, "rm" | "push" | "replace-provider" | "delete"))
        || first == "workspace" && texts.contains(&"delete")
        || first == "rm"
        || matches!(first, "taint" | "force-unlock" | "cancel")
    {
        hits.push(Hit::of(
            command,
            if first == "force-unlock" || first == "cancel" { "iac.apply" } else { "cloud.delete" },
            "state",
            &name,
        ));
    } else if matches!(first, "apply" | "up" | "deploy")
        && (flag("auto-approve") || flag("yes") || flag("-y") || flag("require-approval"))
    {
        hits.push(Hit::of(command, "iac.apply", "infrastructure", &name));
    }
}
