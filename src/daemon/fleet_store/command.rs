//! A command for the store.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

/// One command: what, which keys, which arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What it does.
    pub verb: Verb,
    /// Every key that it touches.
    pub keys: Vec<Vec<u8>>,
    /// All else, in the order of the wire. `XREAD` has its options before the keys.
    pub args: Vec<Vec<u8>>,
}

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A script of ours.
    Script(Script),
    /// A command of the store.
    Plain(&'static str),
}

/// Our scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Script {
    /// Writes my row, and reads all.
    Beat,
    /// Puts a message into a queue.
    Route,
    /// Makes a meeting a node's; or reads its record.
    Claim,
    /// Says what I have of a meeting.
    Publish,
    /// Gives a meeting to another node.
    Hand,
    /// Shares a token.
    Grant,
}

impl Script {
    /// All of them.
    pub const ALL: [Script; 6] = [
        Script::Beat,
        Script::Route,
        Script::Claim,
        Script::Publish,
        Script::Hand,
        Script::Grant,
    ];

    /// Its text. The first line is a comment with its name and the data layout.
    pub const fn text(self) -> &'static str {
        match self {
            Script::Beat => include_str!("lua/beat.lua"),
            Script::Route => include_str!("lua/route.lua"),
            Script::Claim => concat!(
                "-- claim 1\n",
                include_str!("lua/record.lua"),
                include_str!("lua/claim.lua")
            ),
            Script::Publish => concat!(
                "-- publish 1\n",
                include_str!("lua/record.lua"),
                include_str!("lua/publish.lua")
            ),
            Script::Hand => concat!(
                "-- hand 1\n",
                include_str!("lua/record.lua"),
                include_str!("lua/hand.lua")
            ),
            Script::Grant => include_str!("lua/grant.lua"),
        }
    }

    /// The script of which this is the first line.
    pub fn by_first_line(text: &str) -> Option<Script> {
        let first = text.lines().next()?;
        Script::ALL
            .into_iter()
            .find(|script| script.text().lines().next() == Some(first))
    }
}

impl Command {
    /// A command of the store.
    pub fn plain(verb: &'static str, keys: Vec<Vec<u8>>, args: Vec<Vec<u8>>) -> Command {
        let verb = Verb::Plain(verb);
        Command { verb, keys, args }
    }

    /// A script of ours.
    pub fn script(script: Script, keys: Vec<Vec<u8>>, args: Vec<Vec<u8>>) -> Command {
        let verb = Verb::Script(script);
        Command { verb, keys, args }
    }

    /// The words on the wire. `sha1`, in hexadecimal, is what the store calls a script.
    pub fn words(&self, sha1: impl FnOnce(Script) -> String) -> Vec<Vec<u8>> {
        let mut words = match self.verb {
            Verb::Script(script) => vec![
                b"EVALSHA".to_vec(),
                sha1(script).into_bytes(),
                self.keys.len().to_string().into_bytes(),
            ],
            Verb::Plain(name) => vec![name.as_bytes().to_vec()],
        };
        match self.verb {
            // Options, then keys, then one id for each.
            Verb::Plain("XREAD") => {
                let (options, ids) = self.args.split_at(self.args.len() - self.keys.len());
                words.extend(options.iter().chain(&self.keys).chain(ids).cloned());
            }
            _ => words.extend(self.keys.iter().chain(&self.args).cloned()),
        }
        words
    }
}
