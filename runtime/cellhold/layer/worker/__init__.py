"""What runs behind the walls: it alone looks at hostile content. It loads next to nothing, and all of it before the walls go up."""
