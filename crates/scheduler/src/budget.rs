//! Money (or tokens) that concurrent calls cannot overrun: reserve, settle, refund.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use crate::Error;
use crate::sync::{Mutex, MutexGuard};

/// Budgets above one another.
const MAX_DEPTH: usize = 16;
const DAY: u64 = 86_400;

type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

#[derive(Debug, Default, Clone)]
struct Account {
    name: Arc<str>,
    parent: Option<usize>,
    depth: usize,
    limit: u64,
    reserved: u64,
    spent: u64,
    refused: u64,
    overdrafts: u64,
    day: u64,
    closed: bool,
    /// The whole limit is set aside in the budgets above; they need not be asked again.
    carved: bool,
    /// Of a carved account: how much is still set aside above.
    held: u64,
}

impl Account {
    fn left(&self) -> u64 {
        if self.closed {
            return 0;
        }
        self.limit
            .saturating_sub(self.spent)
            .saturating_sub(self.reserved)
    }
}

/// One lock for a whole tree, so that a reservation is checked against every level in one step.
struct Tree {
    accounts: Mutex<Vec<Option<Account>>>,
    /// Places of accounts that are gone. Locked after the accounts.
    vacant: Mutex<Vec<usize>>,
    /// Of a budget per day.
    calendar: Option<WallClock>,
}

struct Node {
    tree: Arc<Tree>,
    index: usize,
    /// Keeps the account above alive.
    _parent: Option<Budget>,
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut accounts = self.tree.lock();
        let Some(account) = accounts[self.index].take() else {
            return;
        };
        if account.carved {
            release_above(&mut accounts, account.parent, account.held);
        }
        self.tree.vacant().push(self.index);
    }
}

/// A budget, alone or below others: a reservation must fit into it and into every budget above it, at once.
///
/// The unit is the caller's: micro-dollars, tokens, calls. Clones are the same budget. Every operation is
/// O(depth), at most 16, under one short lock per tree.
///
/// ```
/// use mainspring_scheduler::Budget;
/// let global = Budget::new("global", 1_000);
/// let session = global.child("session", 600);
/// let call = session.reserve(500)?;
/// assert!(session.reserve(200).is_err()); // the session's limit
/// call.settle(350); // 150 come back
/// assert_eq!((session.left(), global.left()), (250, 650));
/// drop(session.reserve(250)?); // never used: all of it comes back
/// assert_eq!(global.left(), 650);
/// # Ok::<(), mainspring_scheduler::Error>(())
/// ```
#[derive(Clone)]
pub struct Budget {
    node: Arc<Node>,
}

/// How much of a budget is used or promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BudgetLevel {
    /// Below 0.80.
    Normal,
    /// From 0.80 on.
    Warn,
    /// From 0.95 on.
    Critical,
}

/// The figures of one budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetStats {
    /// Its name.
    pub name: String,
    /// The most that may be spent.
    pub limit: u64,
    /// Promised to open reservations.
    pub reserved: u64,
    /// Settled.
    pub spent: u64,
    /// Reservations that did not fit.
    pub refused: u64,
    /// Settlements above what was reserved.
    pub overdrafts: u64,
}

impl Budget {
    /// A budget that is used up once.
    #[must_use]
    pub fn new(name: &str, limit: u64) -> Self {
        Self::root(name, limit, None)
    }

    /// A budget per day (UTC). What is reserved over midnight counts on the day it is settled.
    #[must_use]
    pub fn daily(
        name: &str,
        limit: u64,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        Self::root(name, limit, Some(Arc::new(clock)))
    }

    fn root(name: &str, limit: u64, calendar: Option<WallClock>) -> Self {
        let account = Account {
            name: name.into(),
            limit,
            ..Account::default()
        };
        let tree = Arc::new(Tree {
            accounts: Mutex::new(vec![Some(account)]),
            vacant: Mutex::default(),
            calendar,
        });
        Self {
            node: Arc::new(Node {
                tree,
                index: 0,
                _parent: None,
            }),
        }
    }

    /// A budget inside this one. Below depth 16 the child shares the account of its parent.
    #[must_use]
    pub fn child(&self, name: &str, limit: u64) -> Self {
        let tree = &self.node.tree;
        let mut accounts = tree.lock();
        let depth = accounts[self.node.index]
            .as_ref()
            .map_or(0, |account| account.depth + 1);
        if depth >= MAX_DEPTH {
            return self.clone();
        }
        let parent = Some(self.node.index);
        let account = Account {
            name: name.into(),
            parent,
            depth,
            limit,
            ..Account::default()
        };
        let index = match tree.vacant().pop() {
            Some(free) => {
                accounts[free] = Some(account);
                free
            }
            None => {
                accounts.push(Some(account));
                accounts.len() - 1
            }
        };
        drop(accounts);
        let node = Node {
            tree: tree.clone(),
            index,
            _parent: Some(self.clone()),
        };
        Self {
            node: Arc::new(node),
        }
    }

    /// A budget of its own with `amount` moved into it: whatever the others do, that much is there. What is not spent
    /// comes back when the last handle and the last reservation of it are gone; most of it already on
    /// [`close`](Self::close).
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve), and [`Error::Failed`] below depth 16.
    pub fn carve(&self, name: &str, amount: u64) -> Result<Self, Error> {
        let moved = self.reserve(amount)?;
        let child = self.child(name, amount);
        if Arc::ptr_eq(&child.node, &self.node) {
            let message = format!("budgets nest at most {MAX_DEPTH} deep");
            return Err(Error::Failed { message });
        }
        if let Some(account) = &mut self.node.tree.lock()[child.node.index] {
            account.carved = true;
            account.held = amount;
        }
        // The amount stays reserved; from now on the child's account answers for it.
        moved.keep();
        Ok(child)
    }

    /// Sets `amount` aside here and in every budget above.
    ///
    /// # Errors
    /// [`Error::OverBudget`] names the budget that it does not fit into; nothing is set aside then.
    pub fn reserve(&self, amount: u64) -> Result<Reservation, Error> {
        let mut accounts = self.node.tree.lock();
        let tightest = self
            .chain(&accounts)
            .min_by_key(|&index| left(&accounts, index));
        if let Some(index) = tightest
            && left(&accounts, index) < amount
            && let Some(account) = &mut accounts[index]
        {
            account.refused += 1;
            return Err(Error::OverBudget {
                needed: amount,
                available: account.left(),
                budget: account.name.to_string(),
            });
        }
        let mut next = Some(self.node.index);
        while let Some(account) = next.and_then(|index| accounts[index].as_mut()) {
            account.reserved += amount;
            next = if account.carved { None } else { account.parent };
        }
        drop(accounts);
        Ok(Reservation {
            budget: self.clone(),
            amount,
            spent: None,
        })
    }

    /// What could be reserved now, by this budget and those above.
    #[must_use]
    pub fn left(&self) -> u64 {
        let accounts = self.node.tree.lock();
        self.chain(&accounts)
            .map(|index| left(&accounts, index))
            .min()
            .unwrap_or(0)
    }

    /// Settled so far.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.stats().spent
    }

    /// The fullest level among this budget and those above.
    #[must_use]
    pub fn level(&self) -> BudgetLevel {
        let accounts = self.node.tree.lock();
        let level = |index: usize| {
            let used = accounts[index].as_ref().map_or(0.0, |account| {
                account.spent.saturating_add(account.reserved) as f64 / account.limit.max(1) as f64
            });
            match used {
                used if used >= 0.95 => BudgetLevel::Critical,
                used if used >= 0.80 => BudgetLevel::Warn,
                _ => BudgetLevel::Normal,
            }
        };
        self.chain(&accounts)
            .map(level)
            .max()
            .unwrap_or(BudgetLevel::Normal)
    }

    /// Refuses every further reservation; open ones can still be settled. What was moved here by
    /// [`carve`](Self::carve) and is neither spent nor reserved goes back.
    pub fn close(&self) {
        let mut accounts = self.node.tree.lock();
        let Some(account) = &mut accounts[self.node.index] else {
            return;
        };
        account.closed = true;
        if account.carved {
            let unused = account.held.saturating_sub(account.reserved);
            account.held -= unused;
            account.limit = account.limit.saturating_sub(unused);
            let parent = account.parent;
            release_above(&mut accounts, parent, unused);
        }
    }

    /// The figures of this budget alone.
    #[must_use]
    pub fn stats(&self) -> BudgetStats {
        let accounts = self.node.tree.lock();
        let account = accounts[self.node.index].clone().unwrap_or_default();
        BudgetStats {
            name: account.name.to_string(),
            limit: account.limit,
            reserved: account.reserved,
            spent: account.spent,
            refused: account.refused,
            overdrafts: account.overdrafts,
        }
    }

    fn chain<'a>(&self, accounts: &'a [Option<Account>]) -> impl Iterator<Item = usize> + 'a {
        std::iter::successors(Some(self.node.index), |&index| {
            let account = accounts[index].as_ref()?;
            if account.carved { None } else { account.parent }
        })
    }
}

/// Takes `amount` out of what an account and those that answer with it have reserved.
fn release_above(accounts: &mut [Option<Account>], mut next: Option<usize>, amount: u64) {
    while let Some(account) = next.and_then(|index| accounts[index].as_mut()) {
        account.reserved = account.reserved.saturating_sub(amount);
        next = if account.carved { None } else { account.parent };
    }
}

fn left(accounts: &[Option<Account>], index: usize) -> u64 {
    accounts[index].as_ref().map_or(0, Account::left)
}

impl Tree {
    fn vacant(&self) -> MutexGuard<'_, Vec<usize>> {
        self.vacant.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The accounts, with the root's emptied when a new day has begun.
    fn lock(&self) -> MutexGuard<'_, Vec<Option<Account>>> {
        // Somebody else's clock, so before the lock.
        let today = self.calendar.as_ref().map(|clock| {
            let since = clock().duration_since(SystemTime::UNIX_EPOCH);
            since.unwrap_or(Duration::ZERO).as_secs() / DAY
        });
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(today), Some(Some(root))) = (today, accounts.first_mut())
            && today > root.day
        {
            root.day = today;
            root.spent = 0;
        }
        accounts
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}

/// An amount set aside; dropping it unsettled gives all of it back.
#[derive(Debug)]
#[must_use = "dropping a reservation gives it back"]
pub struct Reservation {
    budget: Budget,
    amount: u64,
    spent: Option<u64>,
}

impl Reservation {
    /// What was set aside.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Leaves the amount reserved for good.
    fn keep(mut self) {
        self.amount = 0;
    }

    /// Books what was really spent and gives the rest back. More than was reserved is booked as it is and
    /// counted as an overdraft: reserve an upper bound, and there are none.
    pub fn settle(mut self, spent: u64) {
        self.spent = Some(spent);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let spent = self.spent.unwrap_or(0);
        let amount = self.amount;
        let mut accounts = self.budget.node.tree.lock();
        let mut released = amount;
        let mut next = Some(self.budget.node.index);
        while let Some(account) = next.and_then(|index| accounts[index].as_mut()) {
            account.reserved = account.reserved.saturating_sub(released);
            account.spent = account.spent.saturating_add(spent);
            account.overdrafts += u64::from(spent > amount);
            if account.carved {
                // Above, everything that was moved here is reserved: only what is spent leaves it.
                released = spent.min(account.held);
                account.held -= released;
            }
            next = account.parent;
        }
    }
}
