//! The conversation of an agent with its model, which may outlast an attempt: the next one goes on in it where the agent
//! has kept it.

use super::envelope::STAND_IN;
use crate::env;
use crate::id::TaskId;

/// How an attempt's conversation begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Conversation {
    /// With nothing before it.
    #[default]
    New,
    /// With all that was said in the attempts before.
    Resumed,
}

impl Conversation {
    /// What an agent is told where its prompt would stand on a command line. Each attempt that goes on has words of its
    /// own, so that its place is known beside the older ones; left in its place later, they read as what they are.
    #[must_use]
    pub fn stand_in(self, attempt: u32) -> String {
        match self {
            Self::New => STAND_IN.to_owned(),
            Self::Resumed => format!("(coda lets this task go on: attempt {attempt})"),
        }
    }
}

/// The id that the host chooses for the conversation of a task, in the form of a UUID: agents take no other.
#[must_use]
pub fn session_id(task: &TaskId) -> String {
    let digest = env::sha256_hex(format!("conversation of {task}").as_bytes());
    format!("{}-{}-4{}-8{}-{}", &digest[..8], &digest[8..12], &digest[13..16], &digest[17..20], &digest[20..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_has_an_id_of_its_own_in_the_form_of_a_uuid() {
        let (one, other) = (TaskId::new(), TaskId::new());
        let id = session_id(&one);
        assert_eq!((session_id(&one), session_id(&other) == id), (id.clone(), false));
        let groups: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!((groups, id.as_bytes()[14], id.as_bytes()[19]), (vec![8, 4, 4, 4, 12], b'4', b'8'));
        assert!(id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()), "{id}");
    }

    #[test]
    fn no_stand_in_is_found_in_another() {
        let later = Conversation::Resumed.stand_in(2);
        assert_eq!(Conversation::New.stand_in(2), STAND_IN);
        assert!(!later.contains(STAND_IN) && !STAND_IN.contains(&later));
        assert!(!Conversation::Resumed.stand_in(12).contains(&Conversation::Resumed.stand_in(1)));
    }
}
