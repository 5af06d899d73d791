-- Databases of the parts that are not ours; runs once, when the volume is empty.
create database unleash;
create database registry;
