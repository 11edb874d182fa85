//! Requests with the model tier that they need.
//!
//! The tier follows from what has to be decided, not from how it is put: nothing (look something
//! up, copy, reshape what is there), a few things in a known way (one function, one diff, a fault
//! whose place is known), or many that hang together (an unknown cause, several systems, no way
//! back). Every tier is asked for in plain words and in technical ones, briefly and with long
//! attachments.

use mainspring_inputs::{Random, SessionSpec, generate};
use mainspring_scheduler::Tier;

/// A request as an agent would send it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) prompt: String,
    pub(super) attached: bool,
    pub(super) tools: usize,
    pub(super) tokens: u64,
    pub(super) needs: Tier,
}

/// Most requests of a running agent are small steps: 84, 13 and 3 in a hundred.
const SHARES: [(f64, Tier, &[&str]); 3] = [
    (0.84, Tier::Fast, NOTHING_TO_DECIDE),
    (0.97, Tier::Balanced, A_KNOWN_WAY),
    (1.0, Tier::Quality, MANY_THINGS_AT_ONCE),
];

const NOTHING_TO_DECIDE: &[&str] = &[
    "Which of these lines mention {name}?",
    "Did the build pass? Answer yes or no.",
    "Give me the exit code from this output.",
    "What port does the {name} service listen on, according to this file?",
    "Rename {name} to {other} in the lines below.",
    "Turn this list into a table with two columns.",
    "Say in one sentence what this output shows.",
    "Pick the file to open next if I want to see where {name} is defined.",
    "Write a commit message of one line for this change.",
    "Put the comma that is missing into this JSON.",
    "Translate to German: the {name} could not be saved.",
    "List the names of the tests that failed.",
    "Is debug switched on in this configuration?",
    "Add {name} to the end of this list.",
    "What does the flag --{name} do? Quote the help text.",
    "How many rows did the query for {name} return?",
    "Shorten this title to sixty characters: everything about the {name} of the {other}.",
    "Copy the path of the first match.",
    "Sort these names.",
    "Fix the spelling in this sentence.",
    "Which version of {name} is installed?",
    "Extract every e-mail address.",
    "Continue.",
    "Thanks. Close the ticket about {name} and say that it is done.",
    "Format this date as 2026-11-20.",
    "Read {name} and tell me the value of {other}.",
    "What is the first line of the stack trace?",
    "Give this conversation a title.",
    "Run the command again.",
    "Say whether {name} occurs before {other}.",
];

const A_KNOWN_WAY: &[&str] = &[
    "Implement {name}: it takes a path and returns the lines that are not comments.",
    "Our importer drops rows whose date is empty. Keep them, with no date, and count them.",
    "The page of {name} answers 500 when a name has an apostrophe; handler and trace are below.",
    "Write unit tests for {name}, with the edge cases of empty and very long input.",
    "Turn these three copies of the same loop into one function.",
    "Explain how {name} calls {other}, and where the timeout is set.",
    "Review this change to {name}: is anything wrong with it?",
    "Convert {name} from callbacks to async.",
    "Make the list of {name} load page by page, twenty at a time.",
    "{name} returns the wrong total when a line is cancelled. Correct it.",
    "Extend the schema of {name} by an optional field and handle it everywhere it is read.",
    "Compare these two ways to cache {name} and say which suits a single server.",
    "Draft an answer to this customer: polite, with the three steps that solve it.",
    "Let people undo the last edit of {name}.",
    "Replace the hand-made parser of {name} by the one of the standard library.",
    "Show an error beside the field when {name} is not a number.",
];

const MANY_THINGS_AT_ONCE: &[&str] = &[
    "Orders are sometimes charged twice when two requests come at once. Nobody knows why. Find it and make it impossible.",
    "Move forty million rows of {name} to the new layout while customers go on writing, with a way back at every step.",
    "Memory of {name} grows by a gigabyte a day on one machine in ten. Find the root cause.",
    "Design how {name} and {other} are to share state between two regions, and what happens when the line between them is down.",
    "Split {name} in two services that are deployed on their own, without losing a request meanwhile.",
    "Is this token check safe against somebody who can replay requests? Show each way around it and close it.",
    "Prove that the algorithm behind {name} never hands the same key to two workers, or give the schedule in which it does.",
    "Every few weeks the nightly run of {name} stops half way and leaves both ledgers different. Work out how that can be, and what to do about the past.",
    "We have three ways of checking rights in this code base. Choose one, say what it costs, and plan how all callers get there.",
    "Investigate the deadlock between {name} and {other} that only shows under load.",
];

/// `count` requests; half of them carry something that was read before.
pub(super) fn requests(count: usize) -> Vec<Request> {
    let mut random = Random::new(31);
    let attachments = attachments();
    let mut request = || {
        let drawn = random.unit();
        let tier = SHARES.iter().find(|(below, ..)| drawn < *below);
        let (_, needs, wordings) = tier.unwrap_or(&SHARES[0]);
        let (name, other) = (random.pick(NAMES), random.pick(NAMES));
        let wording = random.pick(wordings);
        let mut prompt = wording.replace("{name}", name).replace("{other}", other);
        let attached = random.chance(0.5);
        if attached {
            prompt.push_str("\n\n");
            prompt.push_str(&attachments[random.below(attachments.len())]);
        }
        Request {
            tokens: (prompt.len() / 4 + random.between(100, 500)) as u64,
            attached,
            tools: random.between(0, 12),
            prompt,
            needs: *needs,
        }
    };
    (0..count).map(|_| request()).collect()
}

const NAMES: &[&str] = &[
    "invoice", "ledger", "session", "report", "upload", "profile", "basket", "calendar", "mailer",
    "exporter", "search", "billing",
];

/// Results of tools in a generated session: source text, matches, command output.
fn attachments() -> Vec<String> {
    let messages = generate(&SessionSpec::coding(5, 120));
    let content = |message: &String| {
        let message: serde_json::Value = serde_json::from_str(message).ok()?;
        let from_tool = message["role"] == "tool";
        let content = message["content"].as_str().filter(|_| from_tool)?;
        Some(content.chars().take(6_000).collect())
    };
    messages.iter().filter_map(content).collect()
}
