# Vivado asks for nothing but a name: the hardware's parameters are fixed by the build.
proc init_gui {IPINST} {
    ipgui::add_param $IPINST -name "Component_Name"
}
