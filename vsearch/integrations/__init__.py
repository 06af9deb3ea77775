"""Collections at home in other libraries; each module needs the library it is named after, and nothing imports them."""
