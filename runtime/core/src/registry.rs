//! One line adds an implementation.

/// Makes an externally tagged config enum with its names and its builder.
///
/// Each variant's config type must have `fn build(&self, context: &Context) -> Result<Box<dyn Trait>, Error>`.
#[macro_export]
macro_rules! registry {
    (
        $(#[$meta:meta])*
        $vis:vis enum $Config:ident: fn(&$Context:ty) -> Result<Box<dyn $Trait:path>, $Error:ty> {
            $( $(#[$doc:meta])* $Variant:ident($Type:ty) = $name:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        $vis enum $Config {
            $( $(#[$doc])* #[serde(rename = $name)] $Variant($Type), )+
        }

        impl $Config {
            /// Every registered name.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The registered name of this choice.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $( Self::$Variant(_) => $name, )+ }
            }

            /// The default configuration of a registered name.
            #[must_use]
            pub fn default_of(name: &str) -> Option<Self> {
                match name { $( $name => Some(Self::$Variant(<$Type>::default())), )+ _ => None }
            }

            /// Builds the chosen implementation.
            ///
            /// # Errors
            /// When its configuration cannot be used.
            pub fn build(&self, context: &$Context) -> Result<Box<dyn $Trait>, $Error> {
                match self { $( Self::$Variant(config) => config.build(context), )+ }
            }
        }
    };
}
