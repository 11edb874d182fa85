//! Random operations against a plain model: every version restores to exactly the model's bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainspring_delta_snapshot::{
    CommitOptions, MemoryBacking, Options, Snapshots, Thread, VersionId,
};
use proptest::prelude::*;

use crate::basics::options;

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<String>),
    Header(String),
    Inner(String),
    Member(u8, String),
    Unmember(u8),
    Content(usize, String),
    Splice(usize, usize, Vec<String>),
    Commit,
    CommitFull(usize, Vec<String>),
    Checkout(usize),
    Fork(usize),
    Switch(usize),
    Prune(u64),
    Seal,
    Gc,
    Reopen,
}

#[derive(Debug, Clone, Default)]
struct Model {
    header: String,
    messages: Vec<String>,
    members: Vec<(u8, String)>,
}

impl Model {
    fn new() -> Self {
        Self {
            header: " {} ".into(),
            ..Self::default()
        }
    }

    fn bytes(&self) -> String {
        let mut out = format!(
            "{{\"header\":{},\"messages\":[{}]",
            self.header,
            self.messages.join(",")
        );
        for (name, value) in &self.members {
            out.push_str(&format!(",\"m{name}\":{value}"));
        }
        out + "}"
    }

    fn apply(&mut self, thread: &Thread, step: &Step) {
        match step {
            Step::Append(items) => {
                let items: Vec<String> = items.iter().map(|text| message(text)).collect();
                thread.append("/messages", &items).expect("append");
                self.messages.extend(items);
            }
            Step::Header(text) => {
                let header = message(text);
                thread.set("/header", &header).expect("set");
                self.header = header;
            }
            Step::Inner(text) => {
                thread
                    .set("/header/content", format!("\"{text}\""))
                    .expect("set");
                let spaced = self.header.starts_with(' ');
                let inner = message(text);
                self.header = if spaced { format!(" {inner} ") } else { inner };
            }
            Step::Member(name, text) => {
                let value = format!(" \"{text}\" ");
                thread.set(&format!("/m{name}"), &value).expect("set");
                match self.members.iter_mut().find(|(n, _)| n == name) {
                    Some(member) => member.1 = value,
                    None => self.members.push((*name, value)),
                }
            }
            Step::Unmember(name) => {
                let known = self.members.iter().any(|(n, _)| n == name);
                assert_eq!(thread.remove(&format!("/m{name}")).is_ok(), known);
                self.members.retain(|(n, _)| n != name);
            }
            Step::Content(at, text) if !self.messages.is_empty() => {
                let at = at % self.messages.len();
                thread
                    .set(&format!("/messages/{at}/content"), format!("\"{text}\""))
                    .expect("set");
                self.messages[at] = message(text);
            }
            Step::Splice(from, len, items) if !self.messages.is_empty() => {
                let from = from % self.messages.len();
                let to = (from + len).min(self.messages.len());
                let items: Vec<String> = items.iter().map(|text| message(text)).collect();
                thread
                    .splice("/messages", from..to, &items)
                    .expect("splice");
                self.messages.splice(from..to, items);
            }
            Step::CommitFull(cut, items) => {
                let cut = cut % (self.messages.len() + 1);
                self.messages
                    .truncate(cut.max(self.messages.len().saturating_sub(2)));
                self.messages.extend(items.iter().map(|text| message(text)));
            }
            _ => {}
        }
    }
}

fn message(text: &str) -> String {
    format!("{{\"content\":\"{text}\"}}")
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(text(), 0..3)
}

fn text() -> impl Strategy<Value = String> {
    (0..4u8, 0..40usize, "[a-z]{0,12}").prop_map(|(kind, repeat, word)| match kind {
        // Some are long enough for a block of their own.
        0 => format!("shared {repeat} ").repeat(120),
        _ => word.repeat(1 + repeat % 5),
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => texts().prop_map(Step::Append),
        3 => text().prop_map(Step::Header),
        3 => text().prop_map(Step::Inner),
        2 => (0..4u8, text()).prop_map(|(n, t)| Step::Member(n, t)),
        1 => (0..4u8).prop_map(Step::Unmember),
        2 => (any::<usize>(), text()).prop_map(|(at, t)| Step::Content(at, t)),
        1 => (any::<usize>(), 0..4usize, texts()).prop_map(|(a, b, t)| Step::Splice(a, b, t)),
        8 => Just(Step::Commit),
        2 => (any::<usize>(), texts()).prop_map(|(a, t)| Step::CommitFull(a, t)),
        1 => any::<usize>().prop_map(Step::Checkout),
        1 => any::<usize>().prop_map(Step::Fork),
        1 => any::<usize>().prop_map(Step::Switch),
        1 => any::<u64>().prop_map(Step::Prune),
        1 => Just(Step::Seal),
        1 => Just(Step::Gc),
        1 => Just(Step::Reopen),
    ]
}

struct World {
    backing: Arc<MemoryBacking>,
    options: Options,
    snapshots: Snapshots,
    names: Vec<String>,
    current: usize,
    model: Model,
    /// What must come back, and after which version of which thread.
    versions: BTreeMap<VersionId, (Model, usize)>,
    heads: Vec<Option<VersionId>>,
}

impl World {
    fn new(options: Options) -> Self {
        let backing = Arc::new(MemoryBacking::new());
        let snapshots = Snapshots::open(backing.clone(), options.clone()).expect("open");
        let mut world = Self {
            backing,
            options,
            snapshots,
            names: vec!["main".into()],
            current: 0,
            model: Model::new(),
            versions: BTreeMap::new(),
            heads: vec![None],
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.model = Model::new();
        self.thread().set("", self.model.bytes()).expect("set");
    }

    fn thread(&self) -> Thread {
        self.snapshots
            .thread(&self.names[self.current])
            .expect("thread")
    }

    fn committed(&mut self, id: VersionId) {
        self.versions.insert(id, (self.model.clone(), self.current));
        self.heads[self.current] = Some(id);
    }

    fn go_to_head(&mut self) {
        match self.heads[self.current] {
            Some(head) => self.model = self.versions[&head].0.clone(),
            None => self.begin(),
        }
    }

    fn pick(&self, at: usize, own: bool) -> Option<VersionId> {
        let fits =
            |(_, (_, thread)): &(&VersionId, &(Model, usize))| !own || *thread == self.current;
        let ids: Vec<VersionId> = self
            .versions
            .iter()
            .filter(fits)
            .map(|(id, _)| *id)
            .collect();
        (!ids.is_empty()).then(|| ids[at % ids.len()])
    }

    fn run(&mut self, step: &Step) {
        let thread = self.thread();
        self.model.apply(&thread, step);
        match step {
            Step::Commit => {
                let id = thread.commit(CommitOptions::new()).expect("commit");
                self.committed(id);
            }
            Step::CommitFull(..) => {
                let id = thread
                    .commit_full(self.model.bytes().as_bytes(), CommitOptions::new())
                    .expect("commit");
                self.committed(id);
            }
            Step::Checkout(at) => {
                if let Some(id) = self.pick(*at, true) {
                    thread.checkout(id).expect("checkout");
                    self.heads[self.current] = Some(id);
                    self.model = self.versions[&id].0.clone();
                }
            }
            Step::Fork(at) => {
                if let Some(id) = self.pick(*at, false) {
                    thread.rollback();
                    self.names.push(format!("fork {}", self.names.len()));
                    self.heads.push(Some(id));
                    self.current = self.names.len() - 1;
                    self.snapshots
                        .fork(id, &self.names[self.current])
                        .expect("fork");
                    self.go_to_head();
                    // Durable with its first commit.
                    let id = self.thread().commit(CommitOptions::new()).expect("commit");
                    self.committed(id);
                }
            }
            Step::Switch(at) => {
                thread.rollback();
                self.current = at % self.names.len();
                self.go_to_head();
            }
            Step::Prune(mask) => self.prune(&thread, *mask),
            Step::Seal => thread.seal().expect("seal"),
            Step::Gc => drop(self.snapshots.gc().expect("gc")),
            Step::Reopen => self.reopen(),
            _ => {}
        }
    }

    fn prune(&mut self, thread: &Thread, mask: u64) {
        let report = thread
            .prune(|version| mask >> (version.id.sequence() % 64) & 1 == 1)
            .expect("prune");
        let left: Vec<VersionId> = thread
            .versions()
            .expect("versions")
            .iter()
            .map(|version| version.id)
            .collect();
        assert_eq!(report.kept as usize, left.len());
        let gone = |id: &VersionId, owner: usize| owner == self.current && !left.contains(id);
        self.versions.retain(|id, (_, owner)| !gone(id, *owner));
    }

    fn reopen(&mut self) {
        self.snapshots = Snapshots::open(self.backing.clone(), self.options.clone()).expect("open");
        for (index, name) in self.names.clone().iter().enumerate() {
            let head = self.snapshots.thread(name).expect("thread").head();
            // A checkout that nothing was committed on is not remembered.
            self.heads[index] = head;
        }
        self.go_to_head();
    }

    fn check(&self) {
        for (id, (model, _)) in &self.versions {
            let restored = self.snapshots.restore(*id).expect("restore");
            assert!(
                restored == model.bytes(),
                "{id}: {restored:?} is not {:?}",
                model.bytes()
            );
        }
        let report = self.snapshots.verify().expect("verify");
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.versions as usize, self.versions.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_version_restores_to_the_models_bytes(
        steps in proptest::collection::vec(step(), 1..80),
        tight in any::<bool>(),
    ) {
        let roomy = options().block_bytes(1024);
        let options = if tight { roomy.replay_bound(1, 600).max_streams(1) } else { roomy };
        let mut world = World::new(options);
        for step in &steps {
            world.run(step);
        }
        world.check();
        world.reopen();
        world.check();
    }

    #[test]
    fn any_sequence_of_json_texts_comes_back_whole(texts in proptest::collection::vec(json(), 1..12)) {
        let snapshots = Snapshots::open(MemoryBacking::new(), options()).expect("open");
        let thread = snapshots.thread("t").expect("thread");
        let mut seen = Vec::new();
        for text in texts {
            seen.push((thread.commit_full(text.as_bytes(), CommitOptions::new()).expect("commit"), text));
        }
        for pair in seen.windows(2) {
            // The differences, applied to the first, give the second.
            let changes = snapshots.diff(pair[0].0, pair[1].0).expect("diff");
            prop_assert_eq!(changes.is_empty(), pair[0].1 == pair[1].1);
        }
        for (id, text) in seen {
            prop_assert_eq!(snapshots.restore(id).expect("restore"), text);
        }
    }
}

/// JSON with white space, repeated keys, odd numbers and nesting.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("-0.50E+1".to_owned()),
        Just("12".to_owned()),
        Just("\"a\\\"\\u0041\"".to_owned()),
        Just("[]".to_owned()),
        Just("{ }".to_owned()),
        "[a-z ]{0,20}".prop_map(|s| format!("\"{s}\"")),
        "[a-z]{1,3}".prop_map(|s| format!("\"{}\"", s.repeat(120))),
    ];
    let space = || prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n\t")];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let item = (space(), inner.clone(), space()).prop_map(|(a, v, b)| format!("{a}{v}{b}"));
        let member = ("[ab]|c\\\\n", space(), item.clone())
            .prop_map(|(k, a, v)| format!("{a}\"{k}\"{a}:{v}"));
        prop_oneof![
            proptest::collection::vec(item, 0..6)
                .prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec(member, 0..5)
                .prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
    .prop_map(|value| format!("[{value}]"))
}
