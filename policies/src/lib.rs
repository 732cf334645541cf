//! Learners and policies on candle: AWAC, behaviour cloning, and the parts they share.
