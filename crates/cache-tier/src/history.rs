//! Whether a private tier and the shared one go by the same clock of invalidations, when a cache opens.

use crate::epochs::Epochs;
use crate::error::Error;
use crate::label::Label;
use crate::tier::{Marks, Tier};
use crate::tiered_builder::TierSettings;
use std::sync::Arc;

/// A shared tier names its clock by labels at this time, at which nothing can have been invalidated.
pub(crate) const NAMES: u64 = 0;

/// Empties the private tiers that were last used under another clock of the shared tier, or under times that it does not
/// know any more: what others invalidated or wrote since cannot be compared to what was born then. The name of the clock
/// is noted in each.
pub(crate) async fn agree(
    tiers: &[(Arc<dyn Tier>, TierSettings)],
    remembered: &[Marks],
    shared: usize,
    now: u64,
) -> Result<(), Error> {
    let theirs = &remembered[shared];
    let names = theirs.marks.iter().filter(|(_, epoch)| *epoch == NAMES);
    let names: Vec<Label> = names.map(|(label, _)| *label).collect();
    if names.is_empty() {
        return Ok(());
    }
    let private = tiers.iter().zip(remembered).enumerate();
    for (_, ((tier, _), own)) in private.filter(|(index, _)| *index != shared) {
        let noted = |name: &Label| own.marks.iter().any(|(label, _)| label == name);
        // What is born is noted a little ahead of its time; half of what an opening adds is more than that.
        let behind = own.latest > theirs.latest.saturating_add(Epochs::LEAP / 2);
        if *own != Marks::default() && (behind || !names.iter().all(noted)) {
            tier.clear().await?;
        }
        tier.mark(&names, now).await?;
    }
    Ok(())
}
