//! capabilities(7): none left in any set.

use caps::CapSet;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::LayerError;

/// Empties every capability set; the bounding set only where the process holds `CAP_SETPCAP`, which it takes to do so
/// (elsewhere `no_new_privs` makes it meaningless).
pub(super) fn drop_all() -> Result<(), LayerError> {
    let held = capabilities(None)?;
    // First the bounding set: emptying it takes a capability that the next step gives away.
    if held.effective.contains(CapabilitySet::SETPCAP) {
        // Not caps::clear(): it asks for each capability before it drops it, which doubles the calls.
        for capability in caps::all() {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    if held != none {
        set_capabilities(None, none)?;
    }
    Ok(())
}
