//! Photos in, aligned faces out: what training and measuring work on.
//!
//! ```text
//! photos -> align -> folder of aligned faces -> audit -> disputed list
//!                                            -> split -> folds
//!                                            -> augment, for each look that a network takes
//! ```

mod align;
mod audit;
pub mod augment;
mod disputed;
mod doubles;
mod folder;
mod phash;
mod photos;
mod sheet;
mod split;

pub use align::{Aligner, Outcome, align};
pub use audit::{Audit, DoublePhotos, SAME_SHOT_COSINE, Suspect, Why, audit};
pub use augment::{Augmentation, Strength, augmented};
pub use disputed::Disputed;
pub use doubles::{Double, Likeness, NEAR, doubles, groups};
pub use folder::{AlignedFace, AlignedFolder, FolderError, Shot, Skipped};
pub use phash::{Phash, Phasher};
pub use photos::{Labels, Photo, PhotoSet};
pub use sheet::contact_sheet;
pub use split::{Split, TooFew};
