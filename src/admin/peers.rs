//! Who may administer the daemon. The socket's own permissions already keep everybody else out; this holds even where
//! somebody changed them.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::net::unix::UCred;

/// Members of this group may administer, where there is such a group.
pub const GROUP: &str = "kith";

/// The group's id, if there is the group.
pub fn group() -> Option<Gid> {
    Group::from_name(GROUP).ok().flatten().map(|group| group.gid)
}

/// Whether whoever is at the other end may: the daemon's own user, root, and the members of the group.
pub(super) fn may(peer: &UCred) -> bool {
    let user = Uid::from_raw(peer.uid());
    if user.is_root() || user == Uid::effective() {
        return true;
    }
    let Some(group) = group() else { return false };
    is_member(user, Gid::from_raw(peer.gid()), group)
}

/// Whether we ourselves are a member of the group, root not counted.
pub(super) fn are_we_in_group() -> bool {
    let user = Uid::effective();
    !user.is_root() && group().is_some_and(|group| is_member(user, Gid::effective(), group))
}

/// Whether `user`, whose process runs with `primary`, is a member of `group`.
pub fn is_member(user: Uid, primary: Gid, group: Gid) -> bool {
    if primary == group {
        return true;
    }
    let Ok(Some(user)) = User::from_uid(user) else {
        return false;
    };
    let Ok(name) = CString::new(user.name) else {
        return false;
    };
    getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_from_others() {
        let nobody = User::from_name("nobody").unwrap().unwrap();
        assert!(
            is_member(nobody.uid, Gid::from_raw(4321), nobody.gid),
            "by the user database"
        );
        assert!(
            is_member(nobody.uid, Gid::from_raw(4321), Gid::from_raw(4321)),
            "by the process's group"
        );
        assert!(!is_member(nobody.uid, nobody.gid, Gid::from_raw(4321)));
        assert!(!is_member(
            Uid::from_raw(3_999_999),
            Gid::from_raw(1),
            Gid::from_raw(4321)
        ));
    }
}
